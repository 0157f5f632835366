"""What the project's figures of speed, memory and accuracy are measured with: see README.md in this folder."""
