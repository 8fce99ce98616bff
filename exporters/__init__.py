"""From a trained model to quantized, evaluated artifacts."""
