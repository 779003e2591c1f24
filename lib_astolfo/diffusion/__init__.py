"""Pure maths: noise schedules, prediction types, the denoiser, guidance, uncond modes."""
