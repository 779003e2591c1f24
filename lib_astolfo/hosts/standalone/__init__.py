"""The host without a WebUI: diffusers networks and k-diffusion samplers."""
