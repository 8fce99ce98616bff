"""What U8S8 products that saturate in 16 bits do to a model, emulated on any host."""
