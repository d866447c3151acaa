"""Model families, one file each; `catalog` names them."""
