"""What the words of a report mean."""

GLOSSARY = (
    (
        "Accuracy and interval",
        "Images classified as labelled, out of n, in percent; the bracket is the 95 % Wilson interval of the counts. "
        "It says how far another draw of images would move the number, not another training run.",
    ),
    (
        "Never mixed",
        "Generated and official corruptions, severity tables, data sets, splits, seeds and sets of images have "
        "separate tables or columns; no mean spans two of them.",
    ),
    (
        "Lambda policy",
        "Training lambda: the value the model was trained with. Adaptive lambda: read off the fitted line from the "
        "residual of the images, per data set unless per batch or per image is said. Fixed lambda: the same value "
        "everywhere. Oracle lambda: the best value on the test images themselves (uses test labels), an upper bound "
        "and not a method.",
    ),
    (
        "Attack protocol",
        "Static: crafted at lambda_0, scored at the tuned lambda. This is a transfer test, as the attacker does not "
        "know the lambda in use. Adaptive: crafted through the policy that scores it. Plain: crafted at and scored "
        "with the training lambda, or on a model without lambda.",
    ),
    (
        "Weights and fit",
        "The first digits of the SHA-256 of the weights and of the lambda fit; after a refit only the newest fit of "
        "a series is shown in tables, the records keep all.",
    ),
)
