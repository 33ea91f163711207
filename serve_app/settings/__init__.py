"""Configuration: YAML and secrets into one frozen typed tree. The only reader of config files and the environment."""
