"""GeoLRM as a reconstructor."""
