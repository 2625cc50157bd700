"""org.rktsd on the system bus: pods and images as objects, for programs that show and steer them.

Started by D-Bus when somebody calls, and gone when nobody has for a while (rktsd.service).
"""
