"""What all parts of the project share; nothing in here imports from the other folders."""

import os

if "RANK" in os.environ:  # before torch is imported: where a rank or machine dies, its C++ code
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # warns by pages of stack traces
