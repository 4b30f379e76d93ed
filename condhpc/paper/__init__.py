"""What a paper prints: tables, comparisons with their intervals, figures and a verdict, from the records of a run."""
