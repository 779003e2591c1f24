"""What Astolfo can be asked to do; shared by the command line, the REST API and the tab."""
