"""Client of Strop: what is generated from proto/ lies in `strop.v1`."""
