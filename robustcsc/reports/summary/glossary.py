"""What the words of a report mean."""

GLOSSARY = (
    (
        "Accuracy and interval",
        "Images that are classified as labelled, out of n, in percent. The brackets hold the 95 % Wilson interval of "
        "the counts: how far another draw of images would move the number, not another training run.",
    ),
    (
        "Never mixed",
        "Generated and published corruptions, severity tables, data sets, splits, seeds and sets of images have "
        "tables or columns of their own; no mean spans two of them.",
    ),
    (
        "Lambda policy",
        "Training lambda: the value the model was trained with. Adaptive lambda: predicted by the fitted line from "
        "the residual of the images, one value for the data set unless it says per batch or per image. Fixed lambda: "
        "one value for all images. Oracle lambda: the best value by the test labels, an upper bound and not a method.",
    ),
    (
        "Attack protocol",
        "Static: crafted at the training lambda, scored at the fitted lambda. This is a transfer test, because the "
        "attacker does not know the lambda in use. Adaptive: crafted through the policy that scores it. Plain: "
        "crafted at and scored with the training lambda, or on a model without lambda.",
    ),
    (
        "Weights and fit",
        "The first digits of the SHA-256 of the weights and of the lambda fit. After a refit the tables show the "
        "newest fit of a series; the records keep all.",
    ),
)
