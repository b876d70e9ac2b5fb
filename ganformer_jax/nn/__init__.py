"""Building blocks: plain functions and small Linen modules that know no configuration."""
