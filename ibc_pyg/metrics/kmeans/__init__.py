"""K-means: seeding, Lloyd's iterations and single-point moves."""
