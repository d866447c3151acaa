"""What ships with the package, known without PyTorch."""

#: Checkpoints by name.
SHIPPED = (
    "sdnet-textures",
    "sdnet-digits",
    "scn-digits",
    "mdeq-digits",
    "sdnet20-cifar10-jpeg",
    "resnet20-cifar10-jpeg",
)
