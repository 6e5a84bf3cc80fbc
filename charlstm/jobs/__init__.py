"""Run jobs, such as trainings, in this process or in several, until all are done or a stop is requested."""
