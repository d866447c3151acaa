"""Models from where people keep them: torchvision, timm and the Hugging Face Hub."""
