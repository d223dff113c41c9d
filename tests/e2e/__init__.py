"""From an application through the collector to Jaeger, Prometheus, Loki and Langfuse."""
