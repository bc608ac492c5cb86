"""What is seen and from where: cameras, rigs, views and Gaussians, with their files."""
