"""The two HTTP edges: the plugin socket that Docker calls, and our own REST API."""
