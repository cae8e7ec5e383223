"""What Hydra loads of colorlab: it takes sweepers and launchers from the namespace `hydra_plugins` alone."""
