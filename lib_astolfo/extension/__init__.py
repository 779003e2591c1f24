"""The extension as a WebUI loads it: the one place where its hooks, routes and tab are put together."""
