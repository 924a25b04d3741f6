#!/usr/bin/env bash
# Day to dusk on CamVid: bash experiments/camvid_day2dusk.sh CAMVID_DIR [PYTHON]
# CAMVID_DIR holds train, trainannot, test and testannot (480 x 360, 11 classes).
# Results in exp/camvid; what came of it: experiments/camvid_day2dusk.md. About two hours on 2 cores;
# if it stops, the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
camvid=$(realpath "$1")
python=${2:-.venv/bin/python}
root=data/CamVid
exp=exp/camvid

mkdir -p "$root"
for folder in train trainannot test testannot; do ln -sfn "$camvid/$folder" "$root/$folder"; done
list() { "$python" data_preprocessing/make_datalist.py --dataset camvid --datadir "$root" "$@"; }
list --filter '00[01]6*' --out "$root/day.txt"
list --filter '0001TP*' --out "$root/dusk.txt"
list --split val --filter '0001TP*'
for part in day dusk; do
    "$python" data_preprocessing/superpixel_gen.py --dataset camvid --datadir "$root" \
        --datalist "$root/$part.txt"
done

common=(
    -m deeplabv3plus_mobilenet --image_size 192 256 --num_workers 1 --amp bf16 --channels_last
    --src_dataset camvid --src_data_dir "$root" --src_datalist "$root/day.txt"
    --trg_dataset camvid --trg_data_dir "$root" --trg_datalist "$root/dusk.txt"
    --val_dataset camvid --val_data_dir "$root" --val_datalist "$root/val.txt"
    --train_batch_size 4 --seed 0 --resume
)
# Warm-up on day alone, from random weights: BatchNorm learns, and the rate is 40 times the usual.
"$python" warmup.py -p "$exp/warmup" "${common[@]}" --warmup sup_warmup --backbone_weights none \
    --no-freeze_bn --train_lr 1e-2 --ramp_itrs 200 --total_itrs 5000 --val_period 500
# Five rounds of 1 % (0.62 of 62 images). BatchNorm goes on learning: its statistics are of day.
"$python" train_ADA.py -p "$exp/d2ada" "${common[@]}" --init_checkpoint "$exp/warmup/checkpoint.tar" \
    --active_selection_size 0.62 --no-freeze_bn --finetune_itrs 1000 --finetune_lr 5e-3 \
    --val_period 100
# The bound: every dusk label, until its curve is flat.
"$python" warmup.py -p "$exp/bound" "${common[@]}" --warmup target_supervised \
    --init_checkpoint "$exp/warmup/checkpoint.tar" \
    --no-freeze_bn --train_lr 5e-3 --ramp_itrs 0 --total_itrs 2000 --val_period 100
