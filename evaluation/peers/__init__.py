"""Other packages measured in environments of their own."""
