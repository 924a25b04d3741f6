# An image with all dependencies, on an NVIDIA CUDA base (nvidia/cuda:12.9.0-base-ubuntu24.04):
#
#   docker build -t d2ada .
#   docker run --gpus all --shm-size 16g -v "$PWD/data:/d2ada/data" -v "$PWD/exp:/d2ada/exp" d2ada \
#       python warmup.py -p exp/gta5
#
# The wheels of torch bring CUDA's libraries; the machine needs the driver and NVIDIA's container
# toolkit. --shm-size is for the data loader's processes; data (superpixels and lists are written
# there) and exp must be writable for the user id 57439, or give docker run
# --user "$(id -u):$(id -g)", and -p and --save_dir below exp.
FROM mambaorg/micromamba:2.2.0-cuda12.9.0-ubuntu24.04

# A compiler, for --compile.
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir /d2ada \
    && chown $MAMBA_USER:$MAMBA_USER /d2ada
USER $MAMBA_USER

WORKDIR /d2ada
COPY --chown=$MAMBA_USER:$MAMBA_USER environment.yml .
RUN micromamba install --yes --name base --file environment.yml \
    && micromamba clean --all --yes
COPY --chown=$MAMBA_USER:$MAMBA_USER . .
ENV PATH=/opt/conda/bin:$PATH
CMD ["python", "train_ADA.py", "--help"]
