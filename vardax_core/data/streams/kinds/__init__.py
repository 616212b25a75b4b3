"""The sources of streams that recipes can name, a file each."""
