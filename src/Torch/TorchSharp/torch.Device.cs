using System;
using AdvContrast.Torch.Binding;

namespace TorchSharp;

public static partial class torch
{
    public static readonly Device CPU = new(DeviceType.CPU);
    public static readonly Device META = new(DeviceType.META);

    public static Device CUDA => new(DeviceType.CUDA);
    public static Device MPS => new(DeviceType.MPS);

    public static Device device(string description) => new(description);
    public static Device device(string deviceType, int index = -1) => new(deviceType, index);
    public static Device device(DeviceType deviceType, int index = -1) => new(deviceType, index);
    public static Device device(int index) => new(index);

    /// <summary>Makes sure that this libtorch can use a kind of device.</summary>
    public static void InitializeDeviceType(DeviceType deviceType)
    {
        if (!TryInitializeDeviceType(deviceType))
            throw new InvalidOperationException(
                $"Torch device type {deviceType} did not initialise on the current machine.");
    }

    public static bool TryInitializeDeviceType(DeviceType deviceType) =>
        deviceType == DeviceType.META || NativeMethods.adv_device_count((int)deviceType) > 0;

    /// <summary>The device itself, or the CPU where none is given.</summary>
    public static Device InitializeDevice(Device? device)
    {
        device ??= CPU;
        InitializeDeviceType(device.type);
        return device;
    }

    public static bool cuda_is_available() => cuda.is_available();

    /// <summary>A kind of device and, where there are several, which.</summary>
    public class Device
    {
        /// <summary>"cpu", "cuda" or "cuda:1".</summary>
        public Device(string description)
        {
            var parts = description.Split(':');
            type = Parse(parts[0]);
            index = -1;
            if (parts.Length == 1) return;
            if (parts.Length > 2 || !int.TryParse(parts[1], out var number) || number < 0)
                throw new ArgumentException(
                    $"'{description}' is not a device; say cpu, cuda or cuda:0", nameof(description));
            index = type == DeviceType.CPU ? -1 : number;
        }

        public Device(string deviceType, int index = -1) : this(Parse(deviceType), index) { }

        public Device(DeviceType deviceType, int index = -1)
        {
            type = deviceType;
            this.index = deviceType == DeviceType.CPU ? -1 : index;
        }

        /// <summary>The CUDA device of that number.</summary>
        public Device(int index) : this(DeviceType.CUDA, index) { }

        public DeviceType type { get; private set; }

        /// <summary>-1 for the current one.</summary>
        public int index { get; private set; }

        public override string ToString()
        {
            var name = type.ToString().ToLowerInvariant();
            return index < 0 ? name : $"{name}:{index}";
        }

        public static implicit operator Device(string description) => new(description);

        private static DeviceType Parse(string name) =>
            Enum.TryParse<DeviceType>(name, ignoreCase: true, out var type) && !int.TryParse(name, out _)
                ? type
                : throw new ArgumentException(
                    $"'{name}' is not a kind of device; say cpu or cuda", nameof(name));
    }

    public static partial class cuda
    {
        public static bool is_available() => device_count() > 0;

        public static int device_count() => NativeMethods.adv_device_count((int)DeviceType.CUDA);

        public static void manual_seed(long seed) => Seed(new Device(DeviceType.CUDA), seed);

        public static void manual_seed_all(long seed)
        {
            for (var i = 0; i < device_count(); i++) Seed(new Device(DeviceType.CUDA, i), seed);
        }

        public static void synchronize(Device? device = null) =>
            NativeMethods.Check(NativeMethods.adv_synchronize((int)DeviceType.CUDA, device?.index ?? -1));

        private static void Seed(Device device, long seed)
        {
            using var generator = Generator.OfDevice(device);
            generator.manual_seed(seed);
        }
    }

    public static partial class backends
    {
        public static partial class cuda
        {
            public static partial class matmul
            {
                public static bool allow_tf32
                {
                    get => NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.Tf32Matmul, -1)) != 0;
                    set => NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.Tf32Matmul, value ? 1 : 0));
                }
            }
        }

        public static partial class cudnn
        {
            public static bool allow_tf32
            {
                get => NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.Tf32Cudnn, -1)) != 0;
                set => NativeMethods.CheckNumber(NativeMethods.adv_flag(Flag.Tf32Cudnn, value ? 1 : 0));
            }
        }
    }
}
