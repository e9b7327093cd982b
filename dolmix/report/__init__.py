"""What a person reads of a run or a store: statistics, from what was kept and from texts."""
