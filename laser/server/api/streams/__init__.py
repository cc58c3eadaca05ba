"""What streams carry besides a reply."""
