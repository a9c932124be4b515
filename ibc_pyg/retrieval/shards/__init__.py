"""Indexes made by many processes without collectives: plan a job, work on parts, merge them."""
