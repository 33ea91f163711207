"""Which bytes a model is made of, and whether a folder still holds exactly those."""
