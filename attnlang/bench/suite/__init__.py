"""``attnlang bench suite``: attnlang beside what else there is, on the workloads of papers."""
