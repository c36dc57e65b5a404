"""The same executor, as a training job on a Kubernetes cluster: `launch` starts and follows it, `worker` is a rank."""
