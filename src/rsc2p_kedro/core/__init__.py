"""What passes between stages: results, parameters, table schemas, provenance. It imports nothing of ours."""
