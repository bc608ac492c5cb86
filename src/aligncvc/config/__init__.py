"""Configuration: typed sections, protocols, and the plan that gives each job its own settings."""
