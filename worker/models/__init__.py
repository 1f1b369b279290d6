"""Families of base models over diffusers and peft: load, encode, predict, step, decode, LoRA in and out."""
