"""What runs on a compute node: one module per stage, each with `run(ctx)`, also runnable by hand on a task's folder."""
