"""Alibaba Cloud Container Registry."""
