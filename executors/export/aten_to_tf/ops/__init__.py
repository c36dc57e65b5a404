"""The operators, by kind. Each function takes what its namesake in ATen takes, by the same names."""
