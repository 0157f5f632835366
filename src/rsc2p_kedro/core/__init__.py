"""What passes between the stages: result records, parameters, table schemas and provenance."""
