"""What every part builds on: errors, columns, statistics, formatting, files, seeds, loading."""
