"""One file or folder per outside thing: the catalogue's file, the database, the store, the queue."""
