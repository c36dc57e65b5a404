"""comparison.html: what a person looks at after a comparison; made of comparison.json and of the test results."""
