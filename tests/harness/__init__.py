"""Runs a real ComfyUI and a real page: the development environment, the server, the browser, the demo."""
