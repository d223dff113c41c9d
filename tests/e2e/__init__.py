"""From an application to Jaeger, Prometheus, Loki and Langfuse's endpoint, through the collector."""
