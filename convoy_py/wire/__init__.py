"""The messages of the two protocols: Docker's volume plugin API and our own REST API."""
