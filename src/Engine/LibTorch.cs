using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Text.RegularExpressions;
using TorchSharp;

namespace AdvContrast.Engine;

/// <summary>
/// Loads libtorch where TorchSharp alone does not: on Linux with a libstdc++ older than GCC 13's (Debian 12,
/// Ubuntu 22.04, RHEL 9), under F# Interactive, and from the PyTorch that <see cref="FolderVariable"/> names.
/// </summary>
public static partial class LibTorch
{
    /// <summary>The environment variable that names the <c>lib</c> folder of a PyTorch to use.</summary>
    public const string FolderVariable = "ADVCONTRAST_LIBTORCH";

    private const string Bridge = "LibTorchSharp";

    // In the order of their dependencies; a build for CPUs has no CUDA libraries.
    private static readonly string[] Libraries = ["c10", "torch_cpu", "c10_cuda", "torch_cuda", "torch"];

    private static readonly Dictionary<string, nint> Loaded = [];

    /// <summary>The version of libtorch that TorchSharp is built for.</summary>
    public static string ExpectedVersion => string.Join('.', torch.__version__.Split('.').Take(3));

    /// <summary>The folder that libtorch was loaded from.</summary>
    public static string Folder => Path.GetDirectoryName(NamedLibTorch() ?? Natives.Find("torch_cpu")) ?? "";

    /// <summary>The version that libtorch itself states; the expected one where it cannot be asked.</summary>
    public static string Version
    {
        get
        {
            Load();
            return version.Value;
        }
    }

    /// <summary>A sentence where libtorch is not of the version that TorchSharp is built for, else null.</summary>
    public static string? Warning =>
        Version == ExpectedVersion
            ? null
            : $"libtorch in {Folder} is version {Version}; TorchSharp is built for {ExpectedVersion}, so results may "
                + "be wrong and the process may end.";

    /// <summary>
    /// Loads libtorch, once. A program that uses <c>torch</c> before anything of AdvContrast calls this first; every
    /// front door of AdvContrast calls it itself.
    /// </summary>
    /// <exception cref="LibTorchException">libtorch is missing or cannot be loaded.</exception>
    public static void Load()
    {
        lock (Loaded)
        {
            if (Loaded.ContainsKey(Bridge)) return;
            LoadLibraries();
            LoadBridge();
        }
        try
        {
            RuntimeHelpers.RunClassConstructor(typeof(torch).TypeHandle);
        }
        catch (TypeInitializationException e)
        {
            throw new LibTorchException($"TorchSharp cannot start: {FirstLine(e.InnerException ?? e)}", e);
        }
    }

    // malloc's settings and the number of threads count only before libtorch is loaded.
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "The handler must be there before TorchSharp's first use.")]
    internal static void Initialize()
    {
        NativeHeap.KeepFreedMemory();
        NativeEnvironment.UseAllProcessors();
        AssemblyLoadContext.Default.ResolvingUnmanagedDll += Resolve;
    }

    // Called only for libraries that the ordinary search has not found or could not load.
    private static nint Resolve(Assembly assembly, string name)
    {
        if (assembly != typeof(torch).Assembly) return 0;
        lock (Loaded)
        {
            LoadLibraries();
            if (name == Bridge) LoadBridge();
            return Loaded.GetValueOrDefault(name);
        }
    }

    // By full path: by name the process could take a libtorch that the system has.
    private static void LoadLibraries()
    {
        if (Loaded.Count > 0) return;
        var libTorch = NamedLibTorch() ?? Natives.Find("torch_cpu") ?? throw Missing();
        var folder = Path.GetDirectoryName(libTorch)!;
        foreach (var name in Libraries)
        {
            var path = Path.Combine(folder, Natives.FileName(name));
            if (!File.Exists(path)) continue;
            Loaded[name] = LoadFile(path);
            if (NamedLibTorch() is not null) Natives.Answer(Loaded[name], name);
        }
    }

    private static void LoadBridge()
    {
        if (Loaded.ContainsKey(Bridge)) return;
        var path = Natives.Find(Bridge) ?? throw Missing();
        if (NativeLibrary.TryLoad(path, out var handle)) Loaded[Bridge] = handle;
        else Loaded[Bridge] = LoadFile(OperatingSystem.IsLinux() ? WeakBridge.Copy(path) : path);
    }

    private static string? NamedLibTorch()
    {
        if (Environment.GetEnvironmentVariable(FolderVariable) is not { Length: > 0 } named) return null;
        if (!OperatingSystem.IsLinux())
            throw new LibTorchException($"{FolderVariable} is read on Linux alone; unset it to use the package's libtorch.");
        var path = Path.GetFullPath(Path.Combine(named, Natives.FileName("torch_cpu")));
        return File.Exists(path)
            ? path
            : throw new LibTorchException(
                $"{FolderVariable} names {named}, which has no {Path.GetFileName(path)}; name the lib folder of a "
                + "PyTorch, or unset it.");
    }

    private static nint LoadFile(string path)
    {
        try
        {
            return NativeLibrary.Load(path);
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            throw new LibTorchException($"{path} cannot be loaded: {FirstLine(e)}", e);
        }
    }

    private static LibTorchException Missing() => new(
        $"there is no libtorch: reference the package libtorch-cpu-{Natives.Platform}, or set {FolderVariable} to the "
        + "lib folder of a PyTorch of the same version.");

    private static string FirstLine(Exception e) => e.Message.Split('\n')[0].Trim();

    private static readonly Lazy<string> version = new(() => StatedVersion() ?? ExpectedVersion);

    // at::show_config() lists the build's settings, TORCH_VERSION among them. It returns a std::string: a pointer to
    // the characters and their number.
    private static unsafe string? StatedVersion()
    {
        if (!OperatingSystem.IsLinux()
            || !NativeLibrary.TryGetExport(Loaded["torch_cpu"], "_ZN2at11show_configB5cxx11Ev", out var export))
            return null;
        var text = stackalloc nint[4];
        ((delegate* unmanaged<nint*, nint*>)export)(text);
        var settings = Marshal.PtrToStringUTF8(text[0], (int)text[1]);
        var found = Regex.Match(settings, @"TORCH_VERSION=(\d+\.\d+\.\d+)");
        return found.Success ? found.Groups[1].Value : null;
    }
}
