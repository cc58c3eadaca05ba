"""llama.cpp: GGUF models, quantised or not, on any CPU and on the GPUs that the installed library was built for."""
