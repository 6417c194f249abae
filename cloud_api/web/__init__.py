"""What people see: the staff's console and the tenants' portal. `install` puts both into the application."""

from cloud_api.web.install import install

__all__ = ["install"]
