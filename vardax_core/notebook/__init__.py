"""What a notebook needs: a store as one tree, its scores, its innovations, a picture."""
